"""Says how problems are checked: plain frozen records that do nothing themselves and import no verifier.

base (Spec, Strictness) ─► code (kinds whose response is a program) ─┐
                        ─► extensions (kinds of other packages) ─────┴─► union (every kind, VerifierSpec) ─► shipping
"""
