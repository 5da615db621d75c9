"""Finds actions in video files: class, start, end and score of each.

    python -m pipelines.localize --model_dir=M --output_dir=R my_video.mp4 archive_of_videos/
    python -m pipelines.localize --server=host:8500 --output_dir=R my_video.mp4 other_video.avi

Runs the networks that `train` wrote, or asks a server for those that `export` wrote. Videos are
files, URLs, folders of these, and the lines of --video_list; for networks that were trained on
features, files and folders of features (.npy, .npz, .h5). Writes `R/segments.csv`, a row for
each segment that the proposal network kept, and the detections after the window-length prior and
non-maximum suppression: `R/detections.json` (ActivityNet's format), or text like THUMOS'14's with
--detections_file=detections.txt. `evaluate --segments=R/segments.csv` post-processes again without
a network. `--report=found.html` also writes a page that shows the videos with their detections.

The results of each video are kept in `R/videos`: if the run is interrupted or killed, the same
command continues with the remaining videos. A command with other videos adds theirs: the files hold
the videos of all commands, in the order of their ids. An id is the name of a file, with as many of
its folders as tell the videos in R apart. A file that was replaced is localized again. Only one
command at a time works in R.

The networks run in a worker process, so that a video that crashes its decoder only fails itself.
Failed videos are listed at the end and in `R/failures.jsonl`; later runs skip them unless their
files were replaced, or --retry_failed is given. A server that cannot continue ends the run.

    python -m pipelines.localize --model_dir=M --live rtsp://camera/stream

reads a live source (camera, stream, pipe, growing file) and writes each detection as a line of JSON
as soon as it is final, until the source ends or the program gets SIGTERM (docs/live.md).
"""

import contextlib
import datetime
import functools
import json
import signal
import threading

from absl import flags

from pipelines import _cli
from scnn_tf.datasets.feature_files import find_feature_files
from scnn_tf.datasets.video_files import find_videos
from scnn_tf.errors import InputError
from scnn_tf.io.files import as_path, read_text
from scnn_tf.io.lines import line_writer
from scnn_tf.localization.live_nms import LiveDetection
from scnn_tf.localization.run import DETECTIONS_JSON, ModelFolder, ScorerHandle, localize_videos

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder or URL of the trained stages.")
_SERVER = flags.DEFINE_string(
    "server", None, "Address of a model server (gRPC), host:port, instead of --model_dir."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder or URL to write the results to.")
_DETECTIONS_FILE = flags.DEFINE_string(
    "detections_file",
    DETECTIONS_JSON,
    "Name of the file of detections in --output_dir: .json, .csv or .txt.",
)
_REPORT = flags.DEFINE_string(
    "report", None, "Page (.html) to write that shows the videos with their detections."
)
_PROPOSAL_THRESHOLD = flags.DEFINE_float(
    "proposal_threshold",
    None,
    "Proposal score below which a segment is discarded (default: the recipe's; a server has its "
    "own).",
    0,
    1,
)
_NMS_THRESHOLD = flags.DEFINE_float(
    "nms_threshold",
    None,
    "tIoU above which the detection of lower score is removed; best .1 less than the tIoU of the "
    "evaluation (default: the recipe's; a server has its own).",
    0,
    1,
)
_SCORER = flags.DEFINE_string(
    "scorer",
    None,
    "Sub-folder of --model_dir with the network that scores, such as classification for an "
    "ablation (default: joint if there is one, else localization).",
)
_PROPOSAL = flags.DEFINE_bool(
    "proposal",
    True,
    "Whether the proposal network filters the segments; of a joint network, whether its proposal "
    "scores filter them and are part of the class scores.",
)
_PRECISION = flags.DEFINE_enum(
    "precision",
    None,
    ["float32", "bfloat16"],
    "Precision to compute in (default: that of the training); bfloat16 is faster on hardware that "
    "has it.",
)
_MODEL_NAME = flags.DEFINE_string("model_name", "scnn", "Name of the model on the server.")
_MODEL_VERSION = flags.DEFINE_integer(
    "model_version",
    None,
    "Version of the model on the server (default: the server's choice).",
    1,
    2**63 - 1,
)
_VERSION_LABEL = flags.DEFINE_string(
    "version_label",
    None,
    "Label of the model's version on the server, such as canary, instead of --model_version.",
)
_DEADLINE_S = flags.DEFINE_float(
    "deadline_s", 600.0, "Seconds that the server may take for about 1,400 frames.", 0, 3600
)
_ENCODING = flags.DEFINE_enum(
    "encoding",
    "jpeg",
    ["jpeg", "png"],
    "Format in which frames are sent to the server; png is larger, but lossless.",
)
_TLS_CA = flags.DEFINE_string(
    "tls_ca",
    None,
    "PEM file of the authority that signed the server's certificate (default: no TLS).",
)
_VIDEO_LIST = flags.DEFINE_string(
    "video_list", None, "Text file with further videos: a file, URL or folder in each line."
)
_RUNNER = _cli.RunnerFlags(
    1,
    "Number of worker processes on this machine, 0: one for each core. One process keeps all cores "
    "busy; each process loads the networks.",
)
_VIDEO_TIMEOUT_S = flags.DEFINE_float(
    "video_timeout_s", 0.0, "Seconds after which the work on a video is stopped; 0: no limit.", 0
)
_RETRY_FAILED = flags.DEFINE_bool(
    "retry_failed", False, "Whether to try videos again that failed in an earlier run."
)
_MAX_FAILURE_FRACTION = flags.DEFINE_float(
    "max_failure_fraction",
    0.1,
    "Fraction of the videos that may fail; if more fail, the exit code is 1.",
    0,
    1,
)
_LIVE = flags.DEFINE_bool(
    "live",
    False,
    "Whether the argument is a live source: a URL such as rtsp://…, a camera such as /dev/video0, "
    "a named pipe, - for the standard input, or a file that is still being written.",
)
_LINES = flags.DEFINE_string(
    "lines",
    None,
    "File to which the lines of --live are added, or URL of http or https to which each is posted "
    "(default: the standard output).",
)
_PROVISIONAL = flags.DEFINE_bool(
    "provisional",
    False,
    "Whether --live also writes detections that a later one may still suppress, and their "
    "withdrawal.",
)
_WHEN_SLOW = flags.DEFINE_enum(
    "when_slow",
    None,
    ["scales", "frames", "wait"],
    "What --live does if the machine is too slow: leave out the shortest window lengths, drop "
    "frames, or let the source wait (default: wait for pipes and files, else scales).",
)
_OUTAGE_S = flags.DEFINE_float(
    "outage_s",
    10.0,
    "Seconds without a picture after which --live decides on what is open, and after which a file "
    "has ended.",
    0.1,
    86400,
)


def main(argv: list[str]) -> None:
    """Localizes the videos of the command line and prints the best detections."""
    _check_flags()
    if _LIVE.value:
        _localize_live(argv[1:])
        return
    if _REPORT.value and as_path(_REPORT.value).is_dir():
        raise InputError(
            f"--report={_REPORT.value}: expected a page to write (.html), found a folder"
        )
    model = _model()
    videos = _videos(argv[1:], model)
    summary = localize_videos(
        videos,
        model=model,
        output_dir=_OUTPUT_DIR.value,
        nms_threshold=_NMS_THRESHOLD.value,
        detections_file=_DETECTIONS_FILE.value,
        runner=_RUNNER.runner(_VIDEO_TIMEOUT_S.value),
        retry_failed=_RETRY_FAILED.value,
    )
    if len(summary.best):
        print(summary.best)
    done = len(videos) - len(summary.failures)
    print(f"{summary.num_detections} detections in {done} videos → {_OUTPUT_DIR.value}")
    if earlier := len(summary.videos) - len(videos):
        videos_text = "1 video" if earlier == 1 else f"{earlier} videos"
        print(f"the files also hold the results of {videos_text} of earlier runs")
    _cli.report_failures(summary.failures)
    if _REPORT.value:
        _write_page(summary.videos)
        print(f"report → {_REPORT.value}")
    if len(summary.failures) > _MAX_FAILURE_FRACTION.value * len(videos):
        raise InputError(
            f"{len(summary.failures)} of {len(videos)} videos could not be used, which exceeds "
            "--max_failure_fraction; the results of the others are written: fix the failed videos "
            "and run the same command with --retry_failed"
        )


def _check_flags() -> None:
    """Checks that the flags belong together.

    Raises:
        InputError: A flag is given that is only for --live, or only for other runs.
    """
    needed, others = "--live", (_LINES, _PROVISIONAL, _WHEN_SLOW, _OUTAGE_S)
    if _LIVE.value:
        needed = "videos, without --live"
        others = (_OUTPUT_DIR, _DETECTIONS_FILE, _REPORT, _VIDEO_LIST, _VIDEO_TIMEOUT_S)
    elif _OUTPUT_DIR.value is None:
        raise InputError("expected --output_dir, the folder of the results, or --live; see --help")
    for flag in others:
        if flag.present:
            raise InputError(f"--{flag.name} can only be given together with {needed}")


def _localize_live(places: list[str]) -> None:
    """Writes the detections of a live source as they become final, until it ends or SIGTERM."""
    if len(places) != 1:
        raise InputError(
            f"expected one live source after the flags. Received: {', '.join(places) or 'none'}"
        )
    stopped = threading.Event()
    with contextlib.ExitStack() as stack:
        write = functools.partial(print, flush=True)
        if _LINES.value is not None:
            write = stack.enter_context(line_writer(_LINES.value))
        model = _model().open()
        for number in (signal.SIGTERM, signal.SIGINT):
            stack.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda *_: stopped.set())
        found = model.stream(
            places[0],
            nms_threshold=_NMS_THRESHOLD.value,
            provisional=_PROVISIONAL.value,
            when_slow=_WHEN_SLOW.value,
            outage_s=_OUTAGE_S.value,
            stopped=stopped,
        )
        for detection in found:
            write(_line(detection))


def _line(detection: LiveDetection) -> str:
    """Returns a live detection as JSON: times in seconds, "utc" in ISO 8601."""
    utc = datetime.datetime.fromtimestamp(detection.utc, datetime.timezone.utc)
    fields = {**detection._asdict(), "utc": utc.isoformat(timespec="milliseconds")}
    return json.dumps(fields, ensure_ascii=False)


def _videos(places: list[str], model: ScorerHandle) -> list[str]:
    """Returns the videos, or files of features, of the command line and of --video_list."""
    if _VIDEO_LIST.value is not None:
        lines = map(str.strip, read_text(_VIDEO_LIST.value).splitlines())
        places = [*places, *filter(None, lines)]
    if not places:
        raise InputError("expected one or more videos after the flags, or --video_list; see --help")
    if isinstance(model, ModelFolder) and model.takes_features:
        return find_feature_files(places)
    return find_videos(places)


def _write_page(videos: dict[str, str]) -> None:
    from scnn_tf.localization.formats import read_detections
    from scnn_tf.report.page import write_report

    detections = read_detections(as_path(_OUTPUT_DIR.value) / _DETECTIONS_FILE.value)
    write_report(_REPORT.value, detections, videos=videos, title="What was found")


def _model() -> ScorerHandle:
    """Returns the handle of the networks or of the server, whichever the flags name."""
    if _MODEL_DIR.value is None and _SERVER.value is None:
        raise InputError(
            "expected --model_dir, a folder that train wrote, or --server; three commands train a "
            "network on labelled videos (README.md, From labels to actions), and a handful of "
            "labels is enough (--recipe=few_shot)"
        )
    if _MODEL_DIR.value is not None and _SERVER.value is not None:
        raise InputError("give either --model_dir, to run the networks here, or --server")
    needs, others = "--model_dir", (_SCORER, _PROPOSAL, _PROPOSAL_THRESHOLD, _PRECISION)
    if _SERVER.value is None:
        needs = "--server"
        others = (_MODEL_NAME, _MODEL_VERSION, _VERSION_LABEL, _DEADLINE_S, _ENCODING, _TLS_CA)
    for flag in others:
        if flag.present:
            raise InputError(f"--{flag.name} can only be given together with {needs}")
    if _SERVER.value is None:
        return ModelFolder(
            model_dir=_MODEL_DIR.value,
            scorer=_SCORER.value,
            proposal=_PROPOSAL.value,
            proposal_threshold=_PROPOSAL_THRESHOLD.value,
            precision=_PRECISION.value,
        )
    from scnn_tf.serving.client import ModelServer  # which loads TensorFlow

    return ModelServer(
        address=_SERVER.value,
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
