"""Code that is copied beside the weights of exported models, so that plain transformers can run them.

`save_pretrained` copies these files into the exported folder, and transformers loads them from there with
`trust_remote_code=True`. Therefore they import only each other (relatively), torch, transformers, numpy and pillow. The
project runs the same code, so the exported model is the one that was trained.
"""
