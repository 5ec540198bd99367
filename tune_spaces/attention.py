"""Paper, Table 3: how the motion discriminator pools its frames.

Concatenation of mean and maximum, or attention with 2 or 3 layers of 512 or 1024 units. The sizes
are the paper's and replace the recipe's. The attention is as wide as the discriminator's hidden
state, so that one moves along; layers mean nothing to concatenation.
"""

PAPER = "Table 3"

SPACE = {
    (
        "discriminator.pool",
        "discriminator.attention_layers",
        "discriminator.hidden_dim",
    ): {
        "concatenation": ("concat", 2, 1024),
        "attention, 2 layers of 512": ("attention", 2, 512),
        "attention, 2 layers of 1024": ("attention", 2, 1024),
        "attention, 3 layers of 512": ("attention", 3, 512),
        "attention, 3 layers of 1024": ("attention", 3, 1024),
    },
}
