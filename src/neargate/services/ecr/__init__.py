"""services/ecr: the Amazon ECR API on the store. Each operation is an async function found by its name.

repositories, policies and tags (records); images and layers (what the registry holds); push (a manifest comes
in, by PutImage or by gateway/registry); authorization (logins); `collect_forever` is a task of main.
"""

from neargate.services.ecr.collect import collect, collect_forever

__all__ = ["collect", "collect_forever"]
