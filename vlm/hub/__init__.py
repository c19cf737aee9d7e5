"""The code that an exported checkpoint carries beside its weights, so that plain transformers can run it.

`save_pretrained` copies these files into the exported folder, and transformers loads them from there with
`trust_remote_code=True`. So they import nothing of this project except each other (relatively), and of other packages
only torch, transformers, numpy and pillow. The project runs the same code: what is exported is what was trained.
"""
