"""One resumable job for each video: in this process, in worker processes, on Apache Beam."""
