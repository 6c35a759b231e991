"""services: one room per AWS API. An operation is one async function named after it, found at start-up.

Called by gateway/dispatch with a Call and the validated parameters; works through the store.
"""
