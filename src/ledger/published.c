/*
 * published.c
 *		What a published partition of the ledger must tell of a changed row.
 *
 * The ledger has no key of its own, and is published as one table by the whole
 * row before a change (REPLICA IDENTITY FULL).  A partition that tells its key
 * alone is not noticed by the server: a subscriber whose partitions are others
 * looks for the row where it is not, and loses the change without a word.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_publication.h"
#include "ledger/published.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Are changes of the ledger's rows published as those of one table? */
static bool
is_published_as_one(void)
{
	Oid			ledger = um_relation(UM_USAGE);
	List	   *publications = list_concat(GetRelationPublications(ledger),
										   list_concat(GetSchemaPublications(get_rel_namespace(ledger)),
													   GetAllTablesPublications()));
	ListCell   *lc;

	foreach(lc, publications)
	{
		Publication *publication = GetPublication(lfirst_oid(lc));

		if (publication->pubviaroot &&
			(publication->pubactions.pubupdate || publication->pubactions.pubdelete))
			return true;
	}
	return false;
}

/* Refuses to change a row of a partition whose subscribers would not find it. */
void
um_check_published(Relation partition)
{
	PublicationDesc published;

	if (partition->rd_rel->relreplident == REPLICA_IDENTITY_FULL ||
		!XLogLogicalInfoActive())
		return;
	/* the relation remembers this one */
	RelationBuildPublicationDesc(partition, &published);
	if ((published.pubactions.pubupdate || published.pubactions.pubdelete) && is_published_as_one())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot change a call in partition \"%s\": it is published, and its replica identity is not FULL",
						RelationGetRelationName(partition)),
				 errdetail("Subscribers would not find the row."),
				 errhint("ALTER TABLE %s REPLICA IDENTITY FULL;",
						 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(partition)),
													RelationGetRelationName(partition)))));
}
