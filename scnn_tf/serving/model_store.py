"""SavedModels in memory, as TensorFlow Serving keeps them: versions, policies, labels, warm-up.

Who serves them over a network is `model_server`.
"""

import contextlib
import dataclasses
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
from absl import logging
from google.protobuf import text_format
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.status_pb2 import StatusProto
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from scnn_tf.errors import InputError
from scnn_tf.io.files import read_text
from scnn_tf.serving.loaded_model import LoadedModel, Refusal, cause


def read_config(path: str | os.PathLike) -> ModelServerConfig:
    """Reads a `models.config`, the text form of a ModelServerConfig.

    Such a file names folders as TensorFlow Serving's container sees them. Where one does not
    exist here, the folder of the same name beside the file is meant.

    Raises:
        InputError: it cannot be read or understood.
    """
    try:
        config = text_format.Parse(read_text(path), ModelServerConfig())
    except text_format.ParseError as error:
        raise InputError(f"{path}: not a text ModelServerConfig ({error})") from error
    for model in config.model_config_list.config:
        beside = Path(path).absolute().parent / Path(model.base_path).name
        if not Path(model.base_path).is_dir() and beside.is_dir():
            model.base_path = str(beside)
    return config


@dataclasses.dataclass(eq=False)
class _Version:
    """Where a version stands, in the words of ModelVersionStatus."""

    files: list[tuple]  # what the folder held just before it was loaded
    state: int = ModelVersionStatus.LOADING
    error: Refusal | None = None
    loaded: LoadedModel | None = None
    users: int = 0  # requests that it is answering

    def unload(self) -> None:
        """Gives the memory back, once the last request is answered."""
        self.state = ModelVersionStatus.UNLOADING if self.users else ModelVersionStatus.END
        if not self.users:
            self.loaded.close()
            self.loaded = None


@dataclasses.dataclass(eq=False)
class _Model:
    config: ModelConfig
    versions: dict[int, _Version]  # by number

    def available(self) -> list[int]:
        """The numbers of the versions that answer requests."""
        return [n for n, v in self.versions.items() if v.state == ModelVersionStatus.AVAILABLE]

    def wanted(self) -> dict[int, Path]:
        """Number and folder of the versions that the policy asks for."""
        base = Path(self.config.base_path)
        found = [path.parent.name for path in base.glob("*/saved_model.pb")]
        folders = {int(name): base / name for name in found if re.fullmatch("[0-9]{1,18}", name)}
        policy = self.config.model_version_policy
        choice = policy.WhichOneof("policy_choice")
        if choice == "specific":  # one that is not there is reported as one that cannot be loaded
            return {n: folders.get(n, base / str(n)) for n in policy.specific.versions}
        count = len(folders) if choice == "all" else max(policy.latest.num_versions, 1)
        return {n: folders[n] for n in sorted(folders)[-count:]}


class ModelStore:
    """The models of a configuration: loads, swaps and unloads their versions.

    A new version is loaded before an old one goes, and an old one goes when its last request is
    answered. While no version that the policy asks for can be loaded, the old ones stay.
    """

    def __init__(self):
        self._models: dict[str, _Model] = {}
        self._lock = threading.Lock()  # of the models and where their versions stand
        self._changing = threading.Lock()  # held while versions are loaded

    def configure(self, config: ModelServerConfig) -> None:
        """Serves the models of a configuration and no others.

        Raises:
            Refusal: it is not valid, a model has no version that can be loaded, or a label stands
                for a version that is not served. Then everything is as it was.
        """
        if config.WhichOneof("config") != "model_config_list":
            raise Refusal.invalid("only a configuration with a model_config_list can be served")
        with self._changing:
            models: dict[str, _Model] = {}
            for model in config.model_config_list.config:
                _check_config(model, models)
                old = self._models.get(model.name)
                same = old is not None and old.config.base_path == model.base_path
                models[model.name] = _Model(model, dict(old.versions) if same else {})
            try:
                for model in models.values():
                    self._load(model)
                    _check_versions(model)
            except Exception:
                self._discard(models.values())
                raise
            with self._lock:
                replaced, self._models = self._models, models
            for name, old in replaced.items():
                kept = models[name].versions if name in models else {}
                self._unload(old, [n for n, v in old.versions.items() if kept.get(n) is not v])
            for model in models.values():
                self._retire(model)

    def poll(self) -> None:
        """Looks for new versions of every model, and swaps them in."""
        with self._changing:
            for model in self._models.values():
                self._load(model)
                self._retire(model)

    @contextlib.contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[tuple[int, LoadedModel]]:
        """Gives a version, by its number and in memory, that stays until the block is left.

        Raises:
            Refusal: no such model, version or label.
        """
        with self._lock:
            number, version = self._find(spec)
            version.users += 1
        try:
            yield number, version.loaded
        finally:
            with self._lock:
                version.users -= 1
                if version.state == ModelVersionStatus.UNLOADING:
                    version.unload()

    def status(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """Where the versions of a model stand, the newest first.

        Raises:
            Refusal: no such model or version.
        """
        with self._lock:
            model = self._models.get(_name(spec))
            versions = dict(model.versions) if model else {}
        if spec.HasField("version"):
            versions = {n: v for n, v in versions.items() if n == spec.version.value}
        if not versions:
            one = f"version {spec.version.value}" if spec.HasField("version") else "any versions"
            raise Refusal.not_found(f"Could not find {one} of model {spec.name}")
        return [
            ModelVersionStatus(
                version=number, state=version.state, status=_status_proto(version.error)
            )
            for number, version in sorted(versions.items(), reverse=True)
        ]

    def close(self) -> None:
        """Unloads everything and ends what is still being computed."""
        with self._changing, self._lock:
            for model in self._models.values():
                for version in model.versions.values():
                    if version.loaded is not None:
                        version.loaded.close()
            self._models = {}

    def names(self) -> list[str]:
        """Every model with the versions that answer, such as "scnn (version 3)"."""
        return [
            f"{name} (version {', '.join(map(str, sorted(model.available())))})"
            for name, model in self._models.items()
        ]

    def _find(self, spec: ModelSpec) -> tuple[int, _Version]:
        model = self._models.get(_name(spec))
        labels = model.config.version_labels if model else {}
        available = model.available() if model else []
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            number, asked = max(available, default=None), f"Latest({spec.name})"
        else:
            if choice == "version_label" and spec.version_label not in labels:
                raise Refusal.invalid(f"Unrecognized servable version label: {spec.version_label}")
            number = spec.version.value if choice == "version" else labels[spec.version_label]
            asked = f"Specific({spec.name}, {number})"
        if number not in available:
            raise Refusal.not_found(f"Servable not found for request: {asked}")
        return number, model.versions[number]

    def _load(self, model: _Model) -> None:
        """Loads what is wanted and not there; what cannot be loaded is logged and noted."""
        for number, folder in model.wanted().items():
            files = sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))
            version = model.versions.get(number)
            gone = (ModelVersionStatus.UNLOADING, ModelVersionStatus.END)
            # A version that cannot be loaded is tried again when its files have changed.
            if version and (version.state not in gone or version.error and version.files == files):
                continue
            version = _Version(files)
            with self._lock:
                model.versions[number] = version
            name = f"version {number} of {model.config.name}"
            try:
                loaded = LoadedModel(folder)
            except Exception as error:  # broken files make TensorFlow raise anything
                reason = cause(error).split("\n")[0]
                logging.error("%s cannot be loaded: %s", name, reason)
                code = error.code if isinstance(error, Refusal) else grpc.StatusCode.UNKNOWN
                with self._lock:
                    version.error = Refusal(code, f"{folder}: {reason}")
                    version.state = ModelVersionStatus.END
            else:
                logging.info("%s is loaded", name)
                with self._lock:
                    version.loaded, version.state = loaded, ModelVersionStatus.AVAILABLE

    def _discard(self, models: Iterable[_Model]) -> None:
        """Gives back the memory of versions that were loaded for models that will not be served."""
        kept = {v for model in self._models.values() for v in model.versions.values()}
        for version in {v for model in models for v in model.versions.values()} - kept:
            if version.loaded is not None:
                version.loaded.close()

    def _retire(self, model: _Model) -> None:
        """Unloads what is not wanted any more, if something that is wanted is there."""
        wanted, available = model.wanted(), model.available()
        if set(wanted) & set(available):
            self._unload(model, [number for number in available if number not in wanted])

    def _unload(self, model: _Model, numbers: list[int]) -> None:
        with self._lock:
            for number in numbers:
                version = model.versions[number]
                if version.state == ModelVersionStatus.AVAILABLE:
                    logging.info("version %d of %s is unloaded", number, model.config.name)
                    version.unload()


def _check_config(config: ModelConfig, others: Iterable[str]) -> None:
    """Refuses a model's configuration that TensorFlow Serving would not take."""
    if not config.name:
        raise Refusal.invalid("a model of the configuration has no name")
    if config.name in others:
        raise Refusal.invalid(f"Illegal to list model {config.name} multiple times in config list")
    if config.model_platform != "tensorflow":
        raise Refusal.invalid(
            f'model {config.name}: model_platform must be "tensorflow". '
            f"Received: {config.model_platform!r}"
        )
    if not os.path.isabs(config.base_path):
        raise Refusal.invalid(
            f"Expected servable {config.name} to have an absolute path or URI; "
            f"got base_path={config.base_path}"
        )


def _check_versions(model: _Model) -> None:
    """Refuses a model without any version, and labels of versions that are not served."""
    config, available = model.config, model.available()
    if not available:
        causes = [str(version.error) for version in model.versions.values() if version.error]
        nothing = f"{config.base_path}: no folder named by a number with a saved_model.pb in it"
        raise Refusal.invalid(
            f"model {config.name} has no version to serve: {(causes or [nothing])[-1]}"
        )
    wanted = model.wanted()
    for label, number in config.version_labels.items():
        if number not in wanted or number not in available:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Request to assign label {label} to version {number} of model {config.name}, "
                "which is not currently available for inference",
            )


def _name(spec: ModelSpec) -> str:
    if not spec.name:
        raise Refusal.invalid("Missing ModelSpec")
    return spec.name


def _status_proto(error: Refusal | None) -> StatusProto:
    """The status of a version, or of what was asked for: OK, or why not."""
    if error is None:
        return StatusProto()
    return StatusProto(error_code=error.code.value[0], error_message=str(error))
