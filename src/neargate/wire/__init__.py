"""AWS's protocols, driven by botocore's service models: the gateway turns requests into parameters and
results into answers here, without knowing a single operation. Entrance: protocols.py.
"""
