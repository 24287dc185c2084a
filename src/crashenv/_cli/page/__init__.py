"""The page of crashes: one file of HTML that needs nothing else."""
