"""Data sets: rows of inputs and targets, content-addressed, in shards that are never rewritten."""

from lamda.data.dataset import DataSet as DataSet
from lamda.data.dataset import address_of as address_of
from lamda.data.shard import Shard as Shard
