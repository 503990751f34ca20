"""The `peft` recipe of Trainyard: Transformers and PEFT, told what to do by the job's specification.

`settings` reads the specification, `data` the records, `model` the base and its adapter, `train` does it, `failure`
says why it could not. Nothing here is fetched from Trainyard's server: the environment of the training says it all.
"""
