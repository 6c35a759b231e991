"""oci: images as files. Digests, references, the content store, the registry client, and the way from a
manifest to one read-only EROFS file. Used by services/ecr, gateway/registry and node/images.
"""
