"""How a model comes into a car and stays there only if it is better: rules without any IO.

`table` is the state table over what is `saved`, `wish` says what the server's word means to the
car, `fitness` which releases fit it, `trial` compares a candidate with the model in service, and
`probation` watches over one that was just committed. `device.agent` carries them out.
"""
