"""Finds actions in video files: class, start, end and score of each.

    python -m pipelines.localize --model_dir=M --output_dir=R my_video.mp4 archive_of_videos/
    python -m pipelines.localize --server=host:8500 --output_dir=R my_video.mp4 other_video.avi

Reads the networks that `train` wrote, or asks a server for those that `export` wrote, and any
videos: files, URLs, folders of them, and those that the lines of --video_list name. Writes
`R/segments.csv`, one row for each segment that the proposal network kept, and the detections,
after the window-length prior and non-maximum suppression: `R/detections.json` (ActivityNet's form),
or text as THUMOS'14 has it with --detections_file=detections.txt. `evaluate
--segments=R/segments.csv` post-processes again without a network. `--report=found.html` writes a
page as well that shows the videos with what was found in them (`report` makes others of it).

What is found in a video is kept in `R/videos`: broken off or killed, the same command goes on with
the videos that are left, and so does one with more videos. The networks are loaded in a process of
their own, so that a video that crashes its decoder is one that cannot be used, no more. Those are
listed at the end and in `R/failures.jsonl`, and left alone later but for --retry_failed; a server
that cannot go on ends the run.
"""

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.video_files import by_id, find_videos
from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path, read_text
from scnn_tf.localization.run import NetworksAt, ScorerAt, localize

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of the trained stages.")
_SERVER = flags.DEFINE_string(
    "server", None, "host:port of a model server (gRPC), instead of --model_dir."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_DETECTIONS_FILE = flags.DEFINE_string(
    "detections_file", "detections.json", "Name of the detections' file: .json, .csv or .txt."
)
_REPORT = flags.DEFINE_string("report", None, "Page to write, .html, that shows the videos.")
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
_PRECISION = flags.DEFINE_enum(
    "precision",
    None,
    ["float32", "bfloat16"],
    "To compute in (default: as trained); bfloat16 is faster where the hardware has it.",
)
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
_VIDEO_LIST = flags.DEFINE_string(
    "video_list", None, "Text file of further videos, a file, URL or folder a line."
)
_RUNNER = _cli.RunnerFlags(
    1,
    "Processes of this machine that localize; one keeps all cores busy, each has its own networks.",
)
_VIDEO_TIMEOUT_S = flags.DEFINE_float(
    "video_timeout_s", 0.0, "Seconds that a video may take; 0: any time.", 0
)
_RETRY_FAILED = flags.DEFINE_bool(
    "retry_failed", False, "Try those videos again that could not be used before."
)
_MAX_FAILURE_FRACTION = flags.DEFINE_float(
    "max_failure_fraction",
    0.1,
    "Exit code 1 if a larger share of the videos cannot be used.",
    0,
    1,
)


def main(argv: list[str]) -> None:
    """Localizes the videos of the command line and prints the best detections."""
    places = argv[1:]
    if _VIDEO_LIST.value is not None:
        lines = map(str.strip, read_text(_VIDEO_LIST.value).splitlines())
        places += filter(None, lines)
    if not places:
        raise InputError("give one or more videos after the flags, or --video_list (see --help)")
    if _REPORT.value and as_path(_REPORT.value).is_dir():
        raise InputError(f"--report={_REPORT.value}: it is a folder; name a page to write, .html")
    videos = list(find_videos(places))
    if not videos:
        raise InputError(f"{', '.join(places)}: there is no video in it")
    found = localize(
        videos,
        _scorer(),
        _OUTPUT_DIR.value,
        _NMS_THRESHOLD.value,
        _DETECTIONS_FILE.value,
        _RUNNER.runner(_VIDEO_TIMEOUT_S.value),
        _RETRY_FAILED.value,
    )
    best = found.best
    for row in range(len(best)):
        print(
            f"{best.score[row]:.3f}  {best.start[row]:8.2f} – {best.end[row]:8.2f} s  "
            f"{best.label[row]}  {best.video[row]}"
        )
    done = len(videos) - len(found.failures)
    print(f"{found.num_detections} detections in {done} videos → {_OUTPUT_DIR.value}")
    _cli.report_failures(found.failures)
    if _REPORT.value:
        _write_page(videos)
        print(f"report → {_REPORT.value}")
    if len(found.failures) > _MAX_FAILURE_FRACTION.value * len(videos):
        raise InputError(
            f"{len(found.failures)} of {len(videos)} videos could not be used, more than "
            "--max_failure_fraction puts up with; what was found in the others is written: mend "
            "those, and run the same command with --retry_failed"
        )


def _write_page(videos: list[str]) -> None:
    from scnn_tf.localization.formats import read_detections
    from scnn_tf.report.page import write_report

    detections = read_detections(as_path(_OUTPUT_DIR.value) / _DETECTIONS_FILE.value)
    write_report(_REPORT.value, detections, videos=by_id(videos), title="What was found")


def _scorer() -> ScorerAt:
    """Where the networks or the server are, whichever the flags ask for."""
    if (_MODEL_DIR.value is None) == (_SERVER.value is None):
        raise InputError("give either --model_dir, to run the networks here, or --server")
    needs, others = "--model_dir", (_SCORER, _PROPOSAL, _PROPOSAL_THRESHOLD, _PRECISION)
    if _SERVER.value is None:
        needs = "--server"
        others = (_MODEL_NAME, _MODEL_VERSION, _VERSION_LABEL, _DEADLINE_S, _ENCODING, _TLS_CA)
    for flag in others:
        if flag.present:
            raise InputError(f"--{flag.name} can only be given together with {needs}")
    if _SERVER.value is None:
        return NetworksAt(
            _MODEL_DIR.value,
            _SCORER.value,
            _PROPOSAL.value,
            _PROPOSAL_THRESHOLD.value,
            _PRECISION.value,
        )
    from scnn_tf.serving.client import ModelServer  # which needs TensorFlow

    return ModelServer(
        _SERVER.value,
        model=_MODEL_NAME.value,
        version=_MODEL_VERSION.value,
        label=_VERSION_LABEL.value,
        tls_ca=_TLS_CA.value,
        deadline_s=_DEADLINE_S.value,
        encoding=_ENCODING.value,
    )


def run() -> None:
    """Entry point of the console script."""
    _cli.run(main, positional=True)


if __name__ == "__main__":
    run()
