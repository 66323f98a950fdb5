"""What runs the network: one interface, a module for each library, none imported before it is used."""
