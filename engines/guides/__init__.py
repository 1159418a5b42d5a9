"""Pictures that the studio draws by itself to guide an edit: a grey figure at an angle, a map of light."""
