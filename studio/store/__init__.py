"""What the studio remembers, and the one door to it: a library of characters, and a store for each.

    Library            the data folder, held by one process          library.py
     └─ Store          one character's records and files             character_store.py
         └─ Collection the records of one kind                       collection.py
             └─ Database  TinyDB, on a storage of ours               tables.py
                 └─ Journal  one synced line a commit                journal.py

Every change is on the disk before the call returns, and a crash at any byte loses nothing that returned.
"""

from studio.store.character_store import Store
from studio.store.collection import Collection
from studio.store.library import Library

__all__ = ["Collection", "Library", "Store"]
