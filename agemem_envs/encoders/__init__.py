"""Text encoders, which map texts to unit vectors; their dot product is the similarity ``sim``."""

from agemem_envs.encoders.base import Encoder, Vectors, encode_queries, is_two_sided
from agemem_envs.encoders.disk_cache import VectorCache
from agemem_envs.encoders.hashing import HashingEncoder
from agemem_envs.encoders.memory_cache import CachedEncoder
from agemem_envs.encoders.registry import (
    ENCODERS,
    EncoderOptions,
    check_encoder,
    encoder_options,
    make_encoder,
    recorded_name,
)
from agemem_envs.encoders.sentence_transformer import MiniLMEncoder, SentenceTransformerEncoder
from agemem_envs.encoders.server import ServerEncoder

__all__ = [
    "ENCODERS",
    "CachedEncoder",
    "Encoder",
    "EncoderOptions",
    "HashingEncoder",
    "MiniLMEncoder",
    "SentenceTransformerEncoder",
    "ServerEncoder",
    "VectorCache",
    "Vectors",
    "check_encoder",
    "encode_queries",
    "encoder_options",
    "is_two_sided",
    "make_encoder",
    "recorded_name",
]
