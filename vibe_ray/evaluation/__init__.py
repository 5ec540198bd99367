"""How good is a network, and how does one show it?

Read in this order: `metrics` (numbers per frame), `protocols` (what exactly is measured), `scores`
(means), `evaluator` (runs a network over sequences). For people: `comparison` (medians over seeds
and verdicts), `published` (others' numbers), `tables` (console, Markdown, JSON). What draws is in
`reports/`.
"""
