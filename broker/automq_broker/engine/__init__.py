"""The conductor: the only room below the desk that waits. It carries values between stations and ports."""
