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
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static uint64 changes = 1;		/* of publications, as far as this backend has heard */
static uint64 known;			/* as of which this is known */
static bool is_as_one;

/* Syscache callback: a publication has changed, or what belongs to it. */
static void
publications_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	changes++;
}

/* Asks to be told of changes. */
void
um_published_init(void)
{
	CacheRegisterSyscacheCallback(PUBLICATIONOID, publications_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONRELMAP, publications_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONNAMESPACEMAP, publications_changed, (Datum) 0);
}

/* Reads whether changes of the ledger's rows are published as those of one table. */
static bool
read_published_as_one(void)
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

/* The same, read once until a publication changes: the server looks through all of them. */
static bool
is_published_as_one(void)
{
	while (known != changes)
	{
		uint64		now = changes;

		is_as_one = read_published_as_one();
		known = now;
	}
	return is_as_one;
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
