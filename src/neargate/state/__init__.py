"""state: the one truth. A transactional store of records with an ordered change feed.

services/ and control/ speak to it through `Store` (store.py); nobody else may. SQLite is behind it.
"""
