"""Resumable jobs, one for each video: in this process, in worker processes, or on Apache Beam."""
