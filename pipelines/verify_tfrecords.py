"""Looks at every record of a data set, and at every picture in it.

    python -m pipelines.verify_tfrecords --data_dir=T

Reads the folder that `build_tfrecords` has written: `manifest.json` and the shards. Prints
`ok: N shards, M segments`; or else, a line each, what is wrong: which shard, which record, counted
from 0. The exit code is 1 then.
"""

from absl import flags

from pipelines import _cli

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data set.", required=True)


def main(argv: list[str]) -> int:
    """Prints what is wrong with the data set."""
    from scnn_tf.shards.files import problems, read_manifest

    well = True
    for problem in problems(_DATA_DIR.value):
        print(problem)
        well = False
    if not well:
        return 1
    manifest = read_manifest(_DATA_DIR.value)
    print(f"ok: {len(manifest.shards)} shards, {sum(manifest.label_counts)} segments")
    return 0


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main)


if __name__ == "__main__":
    run()
