"""services/cell: the control plane as a node sees it. LocalCell serves the agent inside the daemon."""
