"""services/acm: AWS Certificate Manager, as far as certificates are imported. None are issued or renewed.

certificates (import, describe, list, get, delete) and tags. Load balancers' listeners serve them: the data
plane reads certificates and keys through state/certificates.
"""
