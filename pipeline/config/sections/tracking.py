"""Configures experiment trackers that a run reports to beside its own files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from berry.pipeline.config.reading.base import Section


class TrackerConfig(Section):
    """What every tracker is told: figures while the run goes on, kept examples when it ends."""

    examples: int = Field(default=32, ge=0)
    """Kept trajectories that are shown when a run ends, of different problems as far as there are; 0: none."""


class TensorBoardTracker(TrackerConfig):
    """Event files for TensorBoard."""

    type: Literal["tensorboard"] = "tensorboard"
    folder: str | None = None
    """Local folder, in which each driver begins one of its own; null: `tracking/tensorboard` in the run directory."""


class MlflowTracker(TrackerConfig):
    """An MLflow server or store."""

    type: Literal["mlflow"] = "mlflow"
    uri: str | None = None
    """Tracking URI: a server, or a database as in sqlite:///mlflow.db; null: what MLflow's own environment variables
    say."""
    experiment: str = Field(default="berry", min_length=1)
    """Experiment that runs are put into; it is made where there is none."""


class WandbTracker(TrackerConfig):
    """Weights & Biases."""

    type: Literal["wandb"] = "wandb"
    project: str = Field(default="berry", min_length=1)
    """Project that runs are put into."""
    entity: str | None = None
    """User or team; null: the account's own."""
    mode: Literal["online", "offline"] = "online"
    """offline: files in `tracking` of the run directory, which `wandb sync` sends later."""


class TrackioTracker(TrackerConfig):
    """Trackio, on this machine or in a Space."""

    type: Literal["trackio"] = "trackio"
    project: str = Field(default="berry", min_length=1)
    """Project that runs are put into."""
    space_id: str | None = None
    """Hugging Face Space that shows it; null: Trackio's local folder."""


Tracking = Annotated[TensorBoardTracker | MlflowTracker | WandbTracker | TrackioTracker, Field(discriminator="type")]


def _one_of_each_type(trackers: tuple[Tracking, ...]) -> tuple[Tracking, ...]:
    """Raises ValueError for a second tracker of a type: their packages know one open run in a process."""
    types = [tracker.type for tracker in trackers]
    for at, name in enumerate(types):
        if name in types[:at]:
            raise ValueError(f"tracking.{at} is a second tracker of type {name}: a run reports to one of each type")
    return trackers


Trackers = Annotated[tuple[Tracking, ...], AfterValidator(_one_of_each_type)]
"""At most one of each type."""
