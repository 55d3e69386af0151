#ifndef UM_NODE_H
#define UM_NODE_H

#include "record/shape.h"

typedef struct UmNode UmNode;

struct UmNode
{
	UmNode	   *parent;
	UmNode	   *child;			/* the first one, once it is opened */
	UmNode	   *last;
	UmNode	   *next;
	const char *key;			/* NULL: an element of an array */
	int			key_length;
	const char *folded;
	int			folded_length;
	int			index;			/* of an element */
	JsonbValue	value;
	bool		is_array;
	bool		opened;
	bool		passed;			/* some line says that it is of no account */
	bool		touched;		/* some line looked at it */
	bool		counted;		/* what it says matters only in that it differs */
	bool		is_plain_attribute; /* it has no dot, and others beside it have */
	bool		is_usage;		/* a usage object that has been looked at */
	uint32		read_by;		/* the object in which a line has read it */
	uint32		passed_by;
};

extern UmNode *um_node_root(Jsonb *jsonb);
extern UmNode *um_node_child(UmNode *node);
extern void um_node_undot(UmNode *node);
extern bool um_node_is_container(const UmNode *node);
extern bool um_node_is_empty(UmNode *node);
extern UmNode *um_node_get(UmNode *node, char *const *path, int npath);
extern char *um_node_text(UmNode *node);
extern bool um_node_holds(UmNode *node, const UmEdge *edge);
extern Jsonb *um_node_jsonb(UmNode *node);
extern Jsonb *um_node_kept(UmNode *node);

#endif							/* UM_NODE_H */
