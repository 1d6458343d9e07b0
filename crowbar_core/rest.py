"""The REST kit: what the core's own API is made of, for barclamps.

A resource is a ``Listing`` (what its objects look like), bodies (what is taken), and views that are declared with
``api``, or with the shorter ``reading``, ``creating``, ``changing`` and ``deleting``. Paging, filters, chosen fields,
ETag and If-Match, Idempotency-Key, problem+json and the OpenAPI document come with them. Give the blueprint the
``url_prefix`` ``/api/v2``.
"""

from crowbar_core.store.listing import Choice, Field, Later, Listing, Where
from crowbar_core.store.listings.fields import derived, field, fields
from crowbar_core.web.api.bodies import Description, Name, NodeName, Reference, checked, formed, given, resolve
from crowbar_core.web.api.collection import (
    changing,
    created,
    creating,
    deleting,
    found_id,
    listed,
    match,
    reading,
    sample,
    single,
    to_change,
)
from crowbar_core.web.api.nouns import DEPLOYMENTS, GROUPS, NODE_ROLES, NODES, ROLES, RUNS
from crowbar_core.web.api.operation import Answer, Body, Query, api

__all__ = [
    "DEPLOYMENTS",
    "GROUPS",
    "NODES",
    "NODE_ROLES",
    "ROLES",
    "RUNS",
    "Answer",
    "Body",
    "Choice",
    "Description",
    "Field",
    "Later",
    "Listing",
    "Name",
    "NodeName",
    "Query",
    "Reference",
    "Where",
    "api",
    "changing",
    "checked",
    "created",
    "creating",
    "deleting",
    "derived",
    "field",
    "fields",
    "formed",
    "found_id",
    "given",
    "listed",
    "match",
    "reading",
    "resolve",
    "sample",
    "single",
    "to_change",
]
