"""gateway: the door. HTTP, signatures, dispatch to the services, and (registry/) the OCI registry at /v2/.

Put together by `main`: App(house, credential, registry, internal) and serve(app, settings, ready=...).
"""
