"""cli: the `neargate` command. It knows the door's API and the data directory's small files, nothing else."""
