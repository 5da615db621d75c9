"""First drafts of labels: detections in the forms of labelling tools, for people to correct."""
