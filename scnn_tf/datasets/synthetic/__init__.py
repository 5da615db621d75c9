"""Synthetic untrimmed videos with ground truth; `dataset.make_dataset` writes them to disk.

There are two kinds. `shapes` makes videos of bright shapes that move in six directions. `films`
makes the *rich* videos: on `sets`, which are backgrounds, cameras and lights, `figures` perform the
`actions` whose movements are in `gaits`, and `blobs` perform their own. `paint` draws both kinds of
actor, and `curves` has the functions of time that movements are made of.
"""
