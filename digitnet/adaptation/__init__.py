"""Adapt the released network to a user's corrections."""

from digitnet.adaptation.adapt import Adaptation, adapt, save
from digitnet.adaptation.data import AdaptationDataModule

__all__ = ["Adaptation", "AdaptationDataModule", "adapt", "save"]
