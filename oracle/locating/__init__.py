"""Which stage of a whole net has the wrong backward pass; and whether gradients of micro-batches are combined rightly."""
