"""Golden gradients: for each op of the catalogue two files from which an implementation in any language can be tested.

`writing` evaluates and verifies the cases of an op; `checking` compares files with the ops again. Both use `cases`, which says
what a case gives; `encoding` for trees as JSON; `files`, whose bytes are always the same; `schema`, the form of the JSON.
`history` names the published bugs that a case catches.
"""
