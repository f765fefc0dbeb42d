//! Who may write to the agent.
