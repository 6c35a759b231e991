"""bench: each number of docs/SPECIFICATION.md, measured side by side with what a user would use instead.

`make bench` runs all (`python -m bench`); `python -m bench NAME ...` some. Nothing here is a test.
"""
