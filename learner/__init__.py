"""The policy update.

algorithms/, optimizers/         the choices of the config, each with its formula
engine                           one rank, over layout, passes, supervised, policy_update and step
batch, credit, objective         rows, micro-batches and their loss
sft, blend, pointer              the cold start's rows and its second loss
freezing, lora, adapters         what is trained: weights, or adapters beside them
weights, sender, whole_weights   weights out, to the engines and to disk
checkpoint_store, training_state, model_export, adapter_export   what is saved
"""
