"""fieldgap: does this way of starting and steering the training generalise better, by how much, how surely?"""
