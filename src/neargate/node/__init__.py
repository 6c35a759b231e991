"""node: the agent of one machine. It asks the cell for the sandboxes placed on it, makes them real, and
reports what happened. It never sees the store.
"""
