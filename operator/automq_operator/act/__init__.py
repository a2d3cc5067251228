"""Steps to calls. Each may be made twice or late: deletes name a uid, patches test what they were made for."""
