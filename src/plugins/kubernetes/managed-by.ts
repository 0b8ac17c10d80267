/** The mark of what weft made from Kubernetes' objects. What has another, or none, it leaves alone. */
export const managedBy = "kubernetes";
