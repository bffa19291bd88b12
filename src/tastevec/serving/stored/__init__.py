"""People who are kept, where somebody wants that, in PostgreSQL with pgvector."""

from tastevec.serving.stored.database import CONNECTIONS, StoreError, told_by_url
from tastevec.serving.stored.loading import load_parquet
from tastevec.serving.stored.people import PeopleStore, id_text

__all__ = ["CONNECTIONS", "PeopleStore", "StoreError", "id_text", "load_parquet", "told_by_url"]
