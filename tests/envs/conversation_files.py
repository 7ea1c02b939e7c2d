"""Small data sets of invented conversations, in the schemas of the three benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOCOMO: list[dict[str, Any]] = [
    {
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Bessa",
            "speaker_b": "Corvin",
            "session_2_date_time": "9:30 am on 4 March, 2031",
            "session_2": [
                {"speaker": "Corvin", "dia_id": "D2:1", "text": "I moved to Quarne."},
                {
                    "speaker": "Bessa",
                    "dia_id": "D2:2",
                    "text": "Look!",
                    "blip_caption": "a photo of a grey pony",
                },
            ],
            "session_1_date_time": "1:15 pm on 2 March, 2031",
            "session_1": [
                {"speaker": "Bessa", "dia_id": "D1:1", "text": "I sold a painting yesterday."},
                {"speaker": "Corvin", "dia_id": "D1:2", "text": "I learn pottery and archery."},
            ],
            "session_3_date_time": "a day without a talk",
        },
        "qa": [
            {
                "question": "What does Corvin learn?",
                "answer": "pottery, archery",
                "evidence": ["D1:2"],
                "category": 1,
            },
            {
                "question": "When did Bessa sell a painting?",
                "answer": 2031,
                "evidence": ["D1:1; D:1:01", "D"],
                "category": 2,
            },
            {
                "question": "Would Bessa like a museum?",
                "answer": "Yes; she paints",
                "evidence": [],
                "category": 3,
            },
            {
                "question": "Where does Corvin live?",
                "answer": "Tolvik",
                "evidence": ["D2:1", "D9:9"],
                "category": 4,
            },
            {
                "question": "What does Bessa learn?",
                "adversarial_answer": "pottery",
                "evidence": ["D1:2"],
                "category": 5,
            },
            {
                "question": "Is the pony Corvin's?",
                "adversarial_answer": "Yes",
                "answer": "No",
                "evidence": ["D2:2"],
                "category": 5,
            },
        ],
    }
]
AUDIT = [
    {
        "question_id": "locomo_0_qa1",
        "question": "When did Bessa sell a painting?",
        "error_type": "TEMPORAL_ERROR",
        "correct_answer": "1 March 2031 (the day before)",
        "correct_evidence": ["D1:1"],
    },
    {
        "question_id": "locomo_0_qa0",
        "question": "What does Corvin learn?",
        "error_type": "WRONG_CITATION",
        "correct_answer": "pottery, archery (answer is right)",
        "correct_evidence": ["D1:2", "D2:1"],
    },
    {
        "question_id": "locomo_0_qa3",
        "question": "Where does Corvin live?",
        "error_type": "HALLUCINATION",
        "correct_answer": "Unclear - he has just moved",
        "correct_evidence": [],
    },
]
STRUCT = {
    "case_id": "transition_2tr_001",
    "sessions": [
        {"messages": [{"role": "user", "content": "I live in Tolvik."}]},
        {"messages": []},
        {
            "messages": [
                {"role": "user", "content": "I live in Quarne now."},
                {"role": "assistant", "content": "Nice!"},
            ]
        },
    ],
    "queries": [
        {"question": "Where do I live?", "reference_answer": {"text": "You live in Quarne."}}
    ],
}
LONG: list[dict[str, Any]] = [
    {
        "question_id": "q-1",
        "question_type": "knowledge-update",
        "question": "How many cats do I have?",
        "answer": 3,
        "question_date": "2031/05/20 (Tue) 10:00",
        "haystack_dates": ["2031/05/02 (Fri) 08:00", "2031/04/01 (Tue) 09:00"],
        "haystack_session_ids": ["s2", "s1"],
        "haystack_sessions": [
            [
                {"role": "user", "content": "I have three cats now.", "has_answer": True},
                {"role": "assistant", "content": "Lovely.", "has_answer": False},
            ],
            [{"role": "user", "content": "I have two cats."}],
        ],
        "answer_session_ids": ["s2"],
    },
    {
        "question_id": "q-2_abs",
        "question_type": "single-session-user",
        "question": "What is my dog called?",
        "answer": "You did not mention a dog.",
        "question_date": "2031/05/21 (Wed) 10:00",
        "haystack_dates": ["2031/04/01 (Tue) 09:00"],
        "haystack_session_ids": ["s1"],
        "haystack_sessions": [[{"role": "user", "content": "I have two cats."}]],
        "answer_session_ids": [],
    },
]


def _write(file: Path, data: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), "utf-8")


def write_locomo(folder: Path) -> None:
    """Write ``locomo10.json`` and the audit."""
    _write(folder / "locomo10.json", LOCOMO)
    _write(folder / "audit_errors.json", AUDIT)


def write_structmemeval(folder: Path) -> None:
    """Write one case, in a subfolder."""
    _write(folder / "state_tracking" / "data" / "transition_2tr_001.json", STRUCT)


def write_longmemeval(folder: Path) -> None:
    """Write the files of both splits."""
    _write(folder / "longmemeval_s.json", LONG)
    _write(folder / "longmemeval_oracle.json", LONG[:1])
