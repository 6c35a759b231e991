"""services/iam: AWS Identity and Access Management: roles and their policies, an account's in every region.

roles (create, read, update, delete, trust), boundaries, inline and attachments (what they may), policies and
versions (managed ones), tags, service_linked, instance_profiles, simulation; names reads what callers give,
views shows. Users, groups and access keys are not built. What policies say is decided by model/policy and
asked through state/roles.
"""

SERVICE = "iam"
