"""Estimates of the value of a prefix: the chance that a continuation sampled as this rollout samples passes its
verifier, among the continuations that end in an answer that could be checked.

    verdicts, drawing weights ─► estimate (Value a node) ─► labels, records, pass_at_k
                                   ├── annotated   prefixes that were completed only to be labelled
                                   ├── votes       what leaves weigh where they vote on an answer
                                   ├── intervals   Wilson's interval
                                   ├── stopped     draws that verdicts ended
                                   └── counts      plain shares of checked leaves (in-loop scorers, old runs)
"""
