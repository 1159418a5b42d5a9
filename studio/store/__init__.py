"""The persisted state of the studio: a library of characters, and one store for each character.

    Library            the data folder, held by one process          library.py
     └─ Store          one character's records and files             character_store.py
         └─ Collection the records of one kind                       collection.py
             └─ Database  TinyDB, on the studio's own storage               tables.py
                 └─ Journal  one synced line a commit                journal.py

Every change is on the disk before the call returns, and a crash at any byte loses no change whose call has returned.
"""

from studio.store.character_store import Store
from studio.store.collection import Collection
from studio.store.library import Library

__all__ = ["Collection", "Library", "Store"]
