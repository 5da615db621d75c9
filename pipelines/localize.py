"""Finds actions in video files: class, start, end and score of each.

    python -m pipelines.localize --model_dir=M --output_dir=R my_video.mp4 other_video.avi
    python -m pipelines.localize --server=host:8500 --output_dir=R my_video.mp4 other_video.avi

Reads the networks that `train` wrote, or asks a server for those that `export` wrote, and any
video files. Writes `R/segments.csv`, one row for each segment that the proposal network kept, and
the detections, after the window-length prior and non-maximum suppression: `R/detections.json`
(ActivityNet's form), or text as THUMOS'14 has it with --detections_file=detections.txt.
`evaluate --segments=R/segments.csv` post-processes again without a network. A video that cannot be
used is listed at the end and in `R/failures.jsonl`; a server that cannot ends the run, and what
was found until then stays.
"""

import contextlib

from absl import flags

from pipelines import cli
from scnn_tf.errors import InputError
from scnn_tf.files import read_text

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the trained stages.")
_SERVER = flags.DEFINE_string(
    "server", None, "host:port of a model server (gRPC), instead of --model_dir."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_DETECTIONS_FILE = flags.DEFINE_string(
    "detections_file", "detections.json", "Name of the detections' file: .json, .csv or .txt."
)
_PROPOSAL_THRESHOLD = flags.DEFINE_float(
    "proposal_threshold",
    None,
    "Segments with less go no further (default: the recipe's; a server has its own).",
    0,
    1,
)
_NMS_THRESHOLD = flags.DEFINE_float(
    "nms_threshold", 0.4, "tIoU; take .1 less than the overlap that matters to you.", 0, 1
)
_SCORER = flags.DEFINE_string(
    "scorer", "localization", "Folder in M of the network that scores; for ablations."
)
_PROPOSAL = flags.DEFINE_bool("proposal", True, "Filter by the proposal network.")
_MODEL_NAME = flags.DEFINE_string("model_name", "scnn", "Name of the model on the server.")
_MODEL_VERSION = flags.DEFINE_integer(
    "model_version", None, "Its version (default: the server's choice).", 1, 2**63 - 1
)
_VERSION_LABEL = flags.DEFINE_string(
    "version_label", None, "Label of its version, such as canary, instead of a number."
)
_DEADLINE_S = flags.DEFINE_float(
    "deadline_s", 600.0, "Seconds that the server may take for some 1,400 frames.", 0, 1e8
)
_ENCODING = flags.DEFINE_enum(
    "encoding", "jpeg", ["jpeg", "png"], "How frames travel; png: larger, and exact."
)
_TLS_CA = flags.DEFINE_string(
    "tls_ca", None, "PEM file of the authority that vouches for the server (default: no TLS)."
)
_MAX_FAILURES = flags.DEFINE_integer(
    "max_failures", 0, "Exit code 1 if more videos than that could not be used.", 0
)


def main(argv: list[str]) -> int:
    """Localizes the videos of the command line and prints the best detections."""
    if len(argv) < 2:
        raise InputError("give one or more video files after the flags (see --help)")
    with _scorer() as scorer:
        from scnn_tf.localization import localize

        detections, failures = localize(
            argv[1:],
            scorer,
            _OUTPUT_DIR.value,
            _NMS_THRESHOLD.value,
            _DETECTIONS_FILE.value,
        )
    for row in (-detections.score).argsort(kind="stable")[:20]:
        print(
            f"{detections.score[row]:.3f}  {detections.start[row]:8.2f} – "
            f"{detections.end[row]:8.2f} s  {detections.label[row]}  {detections.video[row]}"
        )
    done = len(argv) - 1 - len(failures)
    print(f"{len(detections)} detections in {done} videos → {_OUTPUT_DIR.value}")
    return cli.report_failures(failures, _MAX_FAILURES.value)


def _scorer() -> contextlib.AbstractContextManager:
    """The networks, or the client of a server, whichever the flags ask for."""
    if (_MODEL_DIR.value is None) == (_SERVER.value is None):
        raise InputError("give either --model_dir, to run the networks here, or --server")
    needs, others = "--model_dir", (_SCORER, _PROPOSAL, _PROPOSAL_THRESHOLD)
    if _SERVER.value is None:
        needs = "--server"
        others = (_MODEL_NAME, _MODEL_VERSION, _VERSION_LABEL, _DEADLINE_S, _ENCODING, _TLS_CA)
    for flag in others:
        if flag.present:
            raise InputError(f"--{flag.name} can only be given together with {needs}")
    if _SERVER.value is None:
        from scnn_tf.localization import load_networks

        networks = load_networks(
            _MODEL_DIR.value, _SCORER.value, _PROPOSAL.value, _PROPOSAL_THRESHOLD.value
        )
        return contextlib.nullcontext(networks)
    import grpc

    from scnn_tf.serving import Client

    credentials = None
    if _TLS_CA.value is not None:
        certificates = read_text(_TLS_CA.value)
        if "BEGIN CERTIFICATE" not in certificates:
            raise InputError(f"{_TLS_CA.value}: there is no certificate in it (PEM)")
        credentials = grpc.ssl_channel_credentials(certificates.encode())
    return Client(
        _SERVER.value,
        _MODEL_NAME.value,
        _MODEL_VERSION.value,
        _VERSION_LABEL.value,
        credentials,
        _DEADLINE_S.value,
        _ENCODING.value,
    )


def run() -> None:
    """Entry point of the console script."""
    cli.run(main, positional=True)


if __name__ == "__main__":
    run()
