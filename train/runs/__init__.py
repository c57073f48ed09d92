"""The run folder that a training writes, resumes from and starts from."""
